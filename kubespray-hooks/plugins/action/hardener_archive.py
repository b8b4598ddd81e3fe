# SPDX-License-Identifier: Apache-2.0

"""Reads what is in an image archive, on the controller."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import tarfile

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.text.converters import to_native
from ansible.plugins.action import ActionBase

NAME = "io.containerd.image.name"  # the name that containerd gives an image which it imports


class ActionModule(ActionBase):

    TRANSFERS_FILES = False

    def run(self, tmp=None, task_vars=None):
        result = super(ActionModule, self).run(tmp, task_vars)
        path = self._task.args.get("path", "")
        try:
            with tarfile.open(path) as tar:
                index = json.load(tar.extractfile("index.json"))
            images = [(m["annotations"][NAME], m["digest"]) for m in index["manifests"] if NAME in m.get("annotations", {})]
        except (OSError, IOError, KeyError, ValueError, TypeError, tarfile.TarError) as e:
            raise AnsibleActionFail("image archive %s: %s (make image writes one)" % (path, to_native(e)))
        pinned = [name for name, digest in images if name.endswith("@" + digest)]
        if not pinned:
            raise AnsibleActionFail("image archive %s: it names no image by its digest (make image writes one that does)" % path)
        result.update(changed=False, image=pinned[0], digest=pinned[0].split("@")[1], names=[name for name, digest in images])
        return result
