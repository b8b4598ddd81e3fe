#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0

# Done on the controller by the action plugin of the same name.

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: hardener_report
short_description: Merge reports into one, and fail when they have too many findings
version_added: "1.0.0"
author: The kubespray-hardener authors (@kubespray-hardener)
description: Runs C(hardener report --merge) on the controller, shows the report, and keeps it in two files.
options:
  binary:
    description: The program C(hardener) on the controller.
    type: path
    required: true
  reports:
    description: JSON reports of nodes and of a rollout.
    type: list
    elements: path
    required: true
  failed:
    description: Hosts that could not be done, with the reasons.
    type: dict
  reached:
    description: Addresses of etcd members whose hosts a rollout could not reach, and which are among the reports.
    type: list
    elements: str
  fail_on:
    description: C(never), C(unfixed), C(fail), C(warn) or how many verdicts of FAIL may be.
    type: str
    default: fail
  json:
    description: Where the merged report goes.
    type: path
    required: true
  text:
    description: Where it goes as text.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Merge
  hardener_report:
    binary: bin/hardener
    reports: [artifacts/hardener/nodes/node1.json]
    json: artifacts/hardener/cluster.json
    text: artifacts/hardener/report.txt
"""

RETURN = r"""
totals:
  description: How many verdicts of each kind there are over all nodes.
  type: dict
  returned: success
nodes:
  description: How far each node got.
  type: list
  elements: dict
  returned: success
"""
