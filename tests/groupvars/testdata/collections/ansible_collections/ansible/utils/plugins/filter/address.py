"""Stands in for the collection's filters, as far as Kubespray's templates need them here."""
import ipaddress


def ipwrap(value):
    return "[%s]" % value if ":" in str(value) else value


def ipaddr(value, query=""):
    if isinstance(value, list):
        return [v for v in (ipaddr(v, query) for v in value) if v]
    try:
        network = ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        return False
    if isinstance(query, int):
        return "%s/%d" % (network[query], network.prefixlen)
    if query == "address":
        return str(value).split("/")[0]
    return value


class FilterModule:
    def filters(self):
        return {"ipwrap": ipwrap, "ipaddr": ipaddr, "ipv4": ipaddr, "ipv6": lambda v: []}
