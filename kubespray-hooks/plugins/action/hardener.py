# SPDX-License-Identifier: Apache-2.0

"""Runs the module of the same name. A command that may restart components runs in a unit of the host's systemd and is
followed by short shell commands, so that its lines show while it works, a lost connection does not end it, and no module
of Ansible is on the host: a fix, also one of a Job there, would rightly take it for somebody else at work."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import base64
import io
import os
import shlex
import tarfile
import time

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.module_utils.common.text.converters import to_bytes
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

POLL = 2  # seconds between two looks
AWAY = 300  # seconds for which a host may be out of reach while it is followed
END = "kubespray-hardener-ended:"

# A unit is started with the shell's own redirections: systemd before 236 has none to files.
START = "systemctl reset-failed {unit} 2>/dev/null; exec systemd-run --unit={unit} --description='kubespray-hardener, for Ansible' /bin/sh {folder}/script"
# How it ended, if it has, and the lines after those that are known. A unit that is not active has left its exit code before.
FOLLOW = (
    "rc=lost; systemctl is-active --quiet {unit} && rc=; [ -e {folder}/rc ] && rc=$(cat {folder}/rc);"
    " echo {end}$rc; tail -n +{next} {folder}/log 2>/dev/null || :"
)
# What may restart components, or takes long.
FOLLOWED = ("fix", "rollback", "rollout check", "rollout fix", "rollout undo")


class ActionModule(ActionBase):

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        self.task_vars = task_vars or {}
        args = dict(self._task.args)
        args.setdefault("starter", starter())
        if args.get("command") in FOLLOWED and not self._task.check_mode and args.get("root", "/") == "/":
            result.update(self.followed(args))
        else:
            result.update(self.module(args))
        self.save(args, result)
        return result

    def module(self, args, **more):
        return self._execute_module(module_name=self._task.action, module_args=dict(args, **more), task_vars=self.task_vars)

    def followed(self, args):
        """Runs the command in a unit. One that an earlier play has left running comes to its end first."""
        while True:
            prepared = self.module(args, step="prepare")
            if prepared.get("failed"):
                return prepared
            unit, folder = prepared["unit"], prepared.get("folder")
            if not unit:
                return self.module(args)
            if prepared["running"]:
                self.say("an earlier play has left %s running: waiting for its end" % unit)
                self.follow(unit, folder, args)
                continue
            started = self._low_level_execute_command(START.format(unit=unit, folder=shlex.quote(folder)))
            if started["rc"] != 0:
                raise AnsibleActionFail("start %s: %s" % (unit, started["stderr"].strip() or started["stdout"].strip()))
            if self.follow(unit, folder, args) == "lost":
                raise AnsibleActionFail("%s has ended without saying how, as when it is killed; what was not proven is put back by the host itself (hardener rollback --list)" % unit)
            return self.module(args, step="collect")

    def follow(self, unit, folder, args):
        """Shows what the unit says until it has ended, and returns how."""
        known, began, heard = 0, time.time(), time.time()
        while True:
            if time.time() - began > int(args.get("timeout", 14400)):
                raise AnsibleActionFail("%s has not ended within %s s; it goes on by itself, and the same play follows it again" % (unit, args.get("timeout", 14400)))
            try:
                said = self._low_level_execute_command(FOLLOW.format(unit=unit, folder=shlex.quote(folder), next=known + 1, end=END))
                heard = time.time()
            except AnsibleConnectionFailure:
                if time.time() - heard > AWAY:
                    raise
                time.sleep(POLL)
                continue
            ended, lines = parted(said["stdout"])
            for line in lines:
                known += 1
                self.say(line)
            if ended:
                return ended
            time.sleep(POLL)

    def say(self, line):
        host = self._task.delegate_to or self.task_vars.get("inventory_hostname", "")
        prefix = "hardener: "
        display.display("%s: %s" % (host, line[len(prefix):] if line.startswith(prefix) else line))

    def save(self, args, result):
        """Keeps the reports on the controller; the task's result has only what they come to."""
        report, nodes = result.pop("report_text", None), result.pop("node_reports", None)
        if report is not None and args.get("report"):
            write(args["report"], to_bytes(report))
        if nodes and args.get("nodes"):
            with tarfile.open(fileobj=io.BytesIO(base64.b64decode(nodes)), mode="r:gz") as tar:
                for member in tar.getmembers():
                    # What comes from a host names no other place.
                    if member.isfile() and os.path.basename(member.name) == member.name:
                        write(os.path.join(args["nodes"], member.name), tar.extractfile(member).read())


def parted(text):
    """How the unit ended, "" if it has not, and the whole lines that it has said. A terminal between may have ended them
    with a carriage return too, and others may have spoken before."""
    before, found, rest = text.replace("\r", "").partition(END)
    if not found:
        return "", []
    lines = rest.split("\n")
    return lines[0].strip(), lines[1:-1]


def starter():
    """This playbook's process, for programs that may find it on the same machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as f:
            return "%s/%d" % (f.read().strip(), os.getppid())
    except IOError:
        return ""


def write(path, content):
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path), 0o700)
    part = path + ".part"
    with open(part, "wb") as f:
        f.write(content)
    os.rename(part, path)
