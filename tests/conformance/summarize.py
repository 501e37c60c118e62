#!/usr/bin/env python3
"""Summarise a wstest report.

    summarize.py INDEX_JSON [--allow STATUS,...] [--unimplemented CASES] [--expect N]
    summarize.py --table NAME=INDEX_JSON ...

Prints, for each agent, the number of cases per behaviour (and per behaviour of
the closing handshake) and lists every case that is not OK. Exits with 1 if any
case, or its closing handshake, has a status not allowed (default: OK,
INFORMATIONAL, NON-STRICT, UNIMPLEMENTED), or if not exactly N cases have run.
UNIMPLEMENTED is also allowed in the cases matching --unimplemented (13.3.*,13.5.*).
With --table, prints one line of counts for each report instead.
"""
import argparse
import collections
import fnmatch
import json
import sys


def case_key(case):
    return [int(part) for part in case.split(".")]


def compact(cases, everything):
    """Names of cases, with "12.*" where a whole section is among them."""
    names = []
    for section in sorted({case.split(".")[0] for case in cases}, key=int):
        mine = sorted((c for c in cases if c.startswith(section + ".")), key=case_key)
        total = sum(c.startswith(section + ".") for c in everything)
        names += [f"{section}.* ({total})"] if len(mine) == total > 1 else mine
    return ", ".join(names)


STATUSES = ("OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "FAILED")


def table(reports):
    print(f"{'':14}{'cases':>7}" + "".join(f"{status:>15}" for status in STATUSES) + f"{'other':>7}{'bad close':>11}")
    for name, index in (report.split("=", 1) for report in reports):
        try:
            with open(index, encoding="utf-8") as f:
                cases = [case for agent in json.load(f).values() for case in agent.values()]
        except FileNotFoundError:
            print(f"{name:14} no report")
            continue
        count = collections.Counter(case["behavior"] for case in cases)
        close = sum(case["behaviorClose"] not in ("OK", "INFORMATIONAL") for case in cases)
        print(f"{name:14}{len(cases):7}" + "".join(f"{count.pop(status, 0):15}" for status in STATUSES)
              + f"{sum(count.values()):7}{close:11}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", nargs="+")
    parser.add_argument("--table", action="store_true", help="one line of counts for each NAME=INDEX_JSON")
    parser.add_argument("--allow", default="OK,INFORMATIONAL,NON-STRICT,UNIMPLEMENTED")
    parser.add_argument("--unimplemented", default="", help="cases that may be UNIMPLEMENTED")
    parser.add_argument("--expect", type=int, help="number of cases that must have run")
    args = parser.parse_args()
    if args.table:
        return table(args.index)
    if len(args.index) > 1:
        parser.error("one report, or --table")
    allowed = set(args.allow.split(","))
    excused = args.unimplemented.split(",")
    try:
        with open(args.index[0], encoding="utf-8") as f:
            report = json.load(f)
    except FileNotFoundError:
        sys.exit(f"no report: {args.index[0]}")

    def is_bad(case, status):
        named = status == "UNIMPLEMENTED" and any(fnmatch.fnmatch(case, pattern) for pattern in excused)
        return status not in allowed and not named

    bad = not report
    counts = collections.Counter()
    if bad:
        print("no case has run")
    for agent, cases in sorted(report.items()):
        print(f"{agent}: {len(cases)} cases, {sum(c['duration'] for c in cases.values()) / 1000:.1f} s in cases")
        if args.expect is not None and len(cases) != args.expect:
            print(f"  expected {args.expect} cases")
            bad = True
        for field, title in (("behavior", "behaviour"), ("behaviorClose", "close")):
            by_status = collections.defaultdict(list)
            for case, result in cases.items():
                by_status[result[field]].append(case)
            print(f"  {title + ':':10}", ", ".join(f"{status} {len(by_status[status])}" for status in sorted(by_status)))
            for status in sorted(set(by_status) - {"OK"}):
                wrong = [case for case in by_status[status] if is_bad(case, status)]
                bad |= bool(wrong)
                for names, mark in ((sorted(set(by_status[status]) - set(wrong)), ""), (wrong, " !")):
                    if names:
                        print(f"    {status}{mark}:", compact(names, cases))
        for case, result in cases.items():
            statuses = result["behavior"], result["behaviorClose"]
            wrong = any(is_bad(case, status) for status in statuses)
            counts["failed" if wrong else "unimplemented" if "UNIMPLEMENTED" in statuses else "passed"] += 1
    print(", ".join(f"{counts[verdict]} {verdict}" for verdict in ("passed", "failed", "unimplemented")))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
