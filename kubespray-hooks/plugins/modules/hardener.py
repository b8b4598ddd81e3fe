#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: hardener
short_description: Run kubespray-hardener on a host
version_added: "1.0.0"
author: The kubespray-hardener authors (@kubespray-hardener)
description:
  - Checks a host against the CIS Kubernetes benchmark, fixes what fails, or undoes its fixes.
  - A fix or a rollback of a live host runs in a unit of its systemd, and is followed from outside. It survives the
    connection, and no module of Ansible is on the host meanwhile, which would be taken for somebody else at work there.
options:
  binary:
    description: The program C(hardener) on the host.
    type: path
    required: true
  command:
    description: What to do. C(rollback) undoes all fixes of the host, the newest first.
    type: str
    choices: [check, fix, rollback, rollout check, rollout fix, rollout undo]
    required: true
  args:
    description: More flags of the command.
    type: list
    elements: str
    default: []
  root:
    description: The host's file tree. Another one than C(/) is a picture of a host, on which nothing is restarted.
    type: path
    default: /
  kubeconfig:
    description: A kubeconfig on the host, for policies checks and rollouts. Not used where there is no such file.
    type: path
  report:
    description: File on the controller that the JSON report is written to.
    type: path
  nodes:
    description: Folder on the controller that the reports of a rollout's nodes are written to.
    type: path
  timeout:
    description: For how long a command that runs in a unit is followed, in seconds. It is not ended then.
    type: int
    default: 14400
  step:
    description: For the action plugin of the same name.
    type: str
    choices: [whole, prepare, collect]
    default: whole
  starter:
    description: For the action plugin of the same name.
    type: str
attributes:
  check_mode:
    description: A fix shows its plan, a rollback what it would undo, a rollout the order of its nodes.
    support: full
  diff_mode:
    description: The changes of a fix as unified diffs.
    support: full
"""

EXAMPLES = r"""
- name: Look
  hardener:
    binary: /opt/kubespray-hardener/hardener
    command: check
    report: artifacts/{{ inventory_hostname }}.json

- name: Fix modes and owners
  hardener:
    binary: /opt/kubespray-hardener/hardener
    command: fix
    args: [--max-risk=files]
"""

RETURN = r"""
changes:
  description: The paths that were changed, in order; in check mode those that would be.
  type: list
  elements: str
  returned: always
totals:
  description: How many checks have which verdict.
  type: dict
  returned: with a report
failing:
  description: The checks that fail.
  type: list
  elements: str
  returned: with a report
run:
  description: The ID of a run that wrote, which C(hardener rollback --run) takes.
  type: str
  returned: when something was written
progress:
  description: What the program said.
  type: list
  elements: str
  returned: always
"""

import base64
import glob
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_native

# Memory, so that a full disk takes no report; and only root's.
JOBS = "/run/kubespray-hardener"
# Where Kubespray's runtime tools and kubectl are; sudo may leave these out.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin"
FINDINGS = 1  # the exit code when checks fail, which is no failure of the program


class Job(object):
    """A command line of the program, and what it has left in a folder."""

    def __init__(self, module, folder):
        self.module = module
        self.p = module.params
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def commands(self):
        """The command lines, run one after the other until one fails; a report of a rollout in any case."""
        p = self.p
        words = p["command"].split(" ")
        line = [p["binary"]] + words + p["args"] + ["--output=json"]
        if p["root"] != "/" and words[0] != "rollout":
            line.append("--root=" + p["root"])
        if p["command"] == "rollback":
            return [line + ["--run=" + run["id"]] for run in self.runs()]
        line.append("--output-file=" + self.path("report.json"))
        if p["kubeconfig"] and os.path.exists(p["kubeconfig"]):
            line.append("--kubeconfig=" + p["kubeconfig"])
        if p["command"] in ("fix", "rollout fix", "rollout undo") and p["starter"]:
            line.append("--started-by=" + p["starter"])
        if p["command"] == "fix" and self.module.check_mode:
            line.append("--dry-run")
        if p["command"] in ("rollout fix", "rollout undo") and self.module.check_mode:
            line.append("--plan")
        if words[0] != "rollout" or self.module.check_mode:
            return [line]
        # What is known of the nodes, also of a rollout that stopped.
        nodes = [p["binary"], "rollout", "report", "--output=json", "--nodes-dir=" + self.path("nodes")]
        return [line, nodes + [flag for flag in line if flag.startswith("--kubeconfig=")]]

    def runs(self):
        """The runs that a rollback is to undo, the newest first."""
        line = [self.p["binary"], "rollback", "--list", "--output=json", "--root=" + self.p["root"]]
        rc, out, err = self.module.run_command(line)
        if rc != 0:
            self.module.fail_json(msg=error_of(err.splitlines(), rc))
        # Of a damaged run a person has to decide; its rollback says so.
        todo = [run for run in json.loads(out) or [] if run["state"] not in ("rolled-back", "undone")]
        return list(reversed(todo))

    def script(self):
        """A script of the shell that runs them and says how that ended."""
        lines = ["umask 077", "cd " + quote(self.folder), "PATH=" + PATH, "export PATH", "exec >log 2>&1 </dev/null", "rc=0"]
        for i, command in enumerate(self.commands()):
            run = " ".join(quote(word) for word in command) + " >out." + str(i)
            if command[1:3] == ["rollout", "report"]:
                lines.append(run + " 2>/dev/null || :")
            else:
                lines.append('[ "$rc" -gt %d ] || { %s; rc=$?; }' % (FINDINGS, run))
        return "\n".join(lines + ['echo "$rc" >rc.part && mv rc.part rc', ""])

    def write_script(self):
        with io.open(self.path("script"), "w", encoding="utf-8") as f:
            f.write(u"" + self.script())

    def result(self, rc):
        """What the commands came to, for Ansible."""
        with io.open(self.path("log"), encoding="utf-8", errors="replace") as f:
            progress = [line.rstrip("\r\n") for line in f]
        result = dict(changed=False, changes=[], progress=progress, exit_code=rc)
        self.read_outcomes(result)
        self.read_report(result)
        nodes = glob.glob(self.path("nodes/*.json"))
        if nodes:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                for name in nodes:
                    tar.add(name, arcname=os.path.basename(name))
            result["node_reports"] = to_native(base64.b64encode(packed.getvalue()))
        result["changed"] = bool(result["changes"])
        if rc > FINDINGS:
            result.update(failed=True, msg=error_of(progress, rc))
        return result

    def read_report(self, result):
        if not os.path.exists(self.path("report.json")):
            return
        with io.open(self.path("report.json"), encoding="utf-8") as f:
            text = f.read()
        result["report_text"] = text
        report = json.loads(text)
        if "rollout" in report:
            result["totals"] = report.get("totals")
            for node in report.get("nodes") or []:
                result["changes"] += ["%s: %s" % (node["name"], path) for path in node.get("changes") or []]
            return
        run = report.get("run", {})
        made = [c for c in run.get("changes") or [] if not (run.get("dry_run") and c.get("refused"))]
        result["changes"] += [c["path"] for c in made]
        if run.get("id"):
            result["run"] = run["id"]
        result["totals"] = report.get("Totals")
        result["failing"] = [r["test_number"] for s in report.get("Controls") or [] for g in s.get("tests") or []
                             for r in g.get("results") or [] if r["status"] == "FAIL"]
        if self.module._diff:
            result["diff"] = dict(prepared="".join(difference(c) for c in made))

    def read_outcomes(self, result):
        """What rollbacks have put back."""
        if self.p["command"] != "rollback":
            return
        for name in sorted(glob.glob(self.path("out.*")), key=lambda n: int(n.rsplit(".", 1)[1])):
            with io.open(name, encoding="utf-8") as f:
                text = f.read().strip()
            if text:
                result["changes"] += json.loads(text).get("restored") or []


def difference(change):
    """The diff of one change. That of a mode or an owner is one line."""
    text = change.get("diff") or change["path"] + ": " + change["kind"] + "\n"
    return text if text.endswith("\n") else text + "\n"


def error_of(lines, rc):
    """The program's own line of error, with what it hints at."""
    errors = [line[len("hardener: error: "):] for line in lines if line.startswith("hardener: error: ")]
    hints = [line[len("hardener: hint: "):] for line in lines if line.startswith("hardener: hint: ")]
    if not errors:
        return "; ".join(lines[-3:]) or "hardener ended with exit code %d and said nothing" % rc
    return "; ".join(errors[-1:] + hints)


def quote(word):
    return "'" + word.replace("'", "'\\''") + "'"


def whole(module):
    """Runs the commands, and waits."""
    folder = tempfile.mkdtemp(prefix="kubespray-hardener-", dir="/run" if os.access("/run", os.W_OK) else None)
    try:
        job = Job(module, folder)
        job.write_script()
        subprocess.call(["/bin/sh", job.path("script")])
        return job.result(exit_code(job))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(module, job, unit):
    """Lays out commands for a unit of systemd, which is started from outside: this module would be somebody else at
    work on the host. Commands of an earlier play, whose connection was lost, may still be running."""
    systemctl = module.get_bin_path("systemctl")
    if not (systemctl and module.get_bin_path("systemd-run") and os.path.isdir("/run/systemd/system")):
        return dict(unit="")
    prepared = dict(unit=unit, folder=job.folder)
    if module.run_command([systemctl, "is-active", "--quiet", unit])[0] == 0:
        return dict(prepared, running=True)
    shutil.rmtree(job.folder, ignore_errors=True)
    if not os.path.isdir(JOBS):
        os.mkdir(JOBS, 0o700)
    os.mkdir(job.folder, 0o700)
    job.write_script()
    return dict(prepared, running=False)


def exit_code(job):
    with open(job.path("rc")) as f:
        return int(f.read())


def main():
    module = AnsibleModule(
        argument_spec=dict(
            binary=dict(type="path", required=True),
            command=dict(type="str", required=True, choices=["check", "fix", "rollback", "rollout check", "rollout fix", "rollout undo"]),
            args=dict(type="list", elements="str", default=[]),
            root=dict(type="path", default="/"),
            kubeconfig=dict(type="path"),
            report=dict(type="path"),
            nodes=dict(type="path"),
            timeout=dict(type="int", default=14400),
            step=dict(type="str", choices=["whole", "prepare", "collect"], default="whole"),
            starter=dict(type="str"),
        ),
        supports_check_mode=True,
    )
    p = module.params
    if not os.access(p["binary"], os.X_OK):
        module.fail_json(msg="%s: there is no such program on this host" % p["binary"])
    name = p["command"].replace(" ", "-")
    job = Job(module, os.path.join(JOBS, name))
    try:
        if p["step"] == "prepare":
            result = prepare(module, job, "kubespray-hardener-hooks-" + name)
        elif p["step"] == "collect":
            result = job.result(exit_code(job))
            shutil.rmtree(job.folder, ignore_errors=True)
        elif p["command"] == "rollback" and module.check_mode:
            paths = [path for run in job.runs() for path in run.get("paths") or []]
            result = dict(changed=bool(paths), changes=paths, progress=[])
        else:
            result = whole(module)
    except (OSError, IOError, ValueError) as e:
        module.fail_json(msg="hardener: %s" % to_native(e))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
