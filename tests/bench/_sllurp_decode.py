"""Run by an interpreter that has sllurp (GPL-3: only ever a process of its own): decodes the reports on standard input.

Prints tags a second of CPU time.
"""

import sys
import time

from sllurp.llrp import LLRPMessage

wire = sys.stdin.buffer.read()
messages, at = [], 0
while at < len(wire):
    length = int.from_bytes(wire[at + 2 : at + 6], "big")
    messages.append(wire[at : at + length])
    at += length
started_s = time.process_time()
tags = sum(len(LLRPMessage(msgbytes=each).msgdict["RO_ACCESS_REPORT"]["TagReportData"]) for each in messages)
print(tags / (time.process_time() - started_s))
