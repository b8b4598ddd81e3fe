#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

# Done on the controller by the action plugin of the same name.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: hardener_archive
short_description: Say which image an archive has
version_added: "1.0.0"
author: The kubespray-hardener authors (@kubespray-hardener)
description: Reads the image archive that C(make image) writes, on the controller.
options:
  path:
    description: The archive.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Read the archive
  hardener_archive:
    path: bin/hardener-image.tar
  register: archive
"""

RETURN = r"""
image:
  description: The image by its name and digest.
  type: str
  returned: success
digest:
  description: Its digest.
  type: str
  returned: success
names:
  description: All names of it.
  type: list
  elements: str
  returned: success
"""
