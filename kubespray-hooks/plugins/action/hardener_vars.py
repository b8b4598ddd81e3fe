# SPDX-License-Identifier: Apache-2.0

"""Writes the Kubespray variables that keep fixes, on the controller, and looks whether an inventory has them."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

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
        line = [args["binary"], "vars"] + args["reports"]
        for flag in ("kubespray", "inventory"):
            if args.get(flag):
                line.append("--%s=%s" % (flag, args[flag]))
        if args.get("planned"):
            line.append("--planned")
        if args.get("verify"):
            rc, out, err = call(line + ["--verify=" + args["verify"]])
            if rc > 1:
                raise AnsibleActionFail(err)
            for shown in (out + err).splitlines():
                display.display(shown)
            result.update(changed=False, complete=rc == 0, said=(out + err).splitlines())
            return result
        rc, out, err = call(line)
        if rc > 1:
            raise AnsibleActionFail(err)
        result.update(written(args["path"], out, self._task.check_mode, self._task.diff))
        return result


def call(line):
    try:
        p = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        out, err = p.communicate()
    except OSError as e:
        raise AnsibleActionFail("%s: %s (hardener_controller_binary has to run on the controller)" % (line[0], to_native(e)))
    return p.returncode, to_text(out), to_text(err)


def written(path, text, check_mode, diff):
    """Writes a file unless it is the same already."""
    before = ""
    if os.path.exists(path):
        with open(path, "rb") as f:
            before = f.read().decode("utf-8")
    result = dict(changed=before != text, path=path)
    if diff:
        result["diff"] = dict(before=before, after=text, before_header=path, after_header=path)
    if result["changed"] and not check_mode:
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path))
        with open(path + ".part", "wb") as f:
            f.write(text.encode("utf-8"))
        os.rename(path + ".part", path)
    return result
