#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

# Done on the controller by the action plugin of the same name.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: hardener_vars
short_description: Write the Kubespray variables that keep fixes
version_added: "1.0.0"
author: The kubespray-hardener authors (@kubespray-hardener)
description: Runs C(hardener vars) on the controller.
options:
  binary:
    description: The program C(hardener) on the controller.
    type: path
    required: true
  reports:
    description: JSON reports of nodes, or of all.
    type: list
    elements: path
    required: true
  kubespray:
    description: The release of Kubespray; by default what the nodes tell of it.
    type: str
  inventory:
    description: The inventory, a file or a folder, whose values are completed.
    type: path
  planned:
    description: Also for fixes that were only planned.
    type: bool
    default: false
  path:
    description: The file to write.
    type: path
  verify:
    description: Write nothing; look whether this inventory has the variables.
    type: path
"""

EXAMPLES = r"""
- name: Write the variables
  hardener_vars:
    binary: bin/hardener
    reports: [artifacts/hardener/nodes/node1.json]
    path: artifacts/hardener/zz-hardening.yml
"""

RETURN = r"""
complete:
  description: Whether the inventory has all of them.
  type: bool
  returned: with verify
said:
  description: What is missing, contradicted or shadowed.
  type: list
  elements: str
  returned: with verify
"""
