# SPDX-License-Identifier: Apache-2.0

"""Merges reports and judges them, on the controller."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import subprocess

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.text.converters import to_native, to_text
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        args = self._task.args
        line = [args["binary"], "report", "--merge", "--fail-on=" + str(args.get("fail_on", "fail"))]
        line += ["--failed=%s=%s" % (name, why) for name, why in sorted((args.get("failed") or {}).items())]
        line += ["--reached=" + address for address in args.get("reached") or []]
        line += args["reports"]
        rc, out, err = call(line + ["--output=json"])
        if rc > 1:
            raise AnsibleActionFail(err)
        keep(args["json"], out)
        text = call(line)[1]
        keep(args["text"], text)
        merged = json.loads(out)
        # What needs a person is long, and the same each time.
        for shown in text.split("\nWARN: ")[0].splitlines():
            display.display(shown)
        display.display("")
        display.display("%d verdicts of WARN need a person; all of it: %s" % (merged["totals"]["total_warn"], args["text"]))
        result.update(changed=False, totals=merged["totals"], nodes=[dict(name=n["name"], state=n["state"]) for n in merged["nodes"]])
        if rc == 1:
            result.update(failed=True, msg="more findings than hardener_fail_on lets pass: %s; see %s" % (err, args["text"]))
        return result


def call(line):
    try:
        p = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        out, err = p.communicate()
    except OSError as e:
        raise AnsibleActionFail("%s: %s (hardener_controller_binary has to run on the controller)" % (line[0], to_native(e)))
    said = "; ".join(l.replace("hardener: ", "", 1) for l in to_text(err).splitlines())
    return p.returncode, to_text(out), said


def keep(path, text):
    with open(path + ".part", "wb") as f:
        f.write(text.encode("utf-8"))
    os.rename(path + ".part", path)
