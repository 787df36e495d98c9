"""Run some of the cases, and say which fail.

    python -m course.tests.surroundings                     # all
    python -m course.tests.surroundings names "video"       # of this kind, those with this text in their name
"""
import shutil
import sys
import tempfile
from pathlib import Path

from course.tests.surroundings.kinds import KINDS, cases_of
from course.tests.surroundings.trial import Bench, summary

kinds, text = sys.argv[1:2] or list(KINDS), (sys.argv[2:3] or [""])[0]
folder = Path(tempfile.mkdtemp(prefix="surroundings-"))
bench = Bench(folder)
try:
    print(summary(bench.run(case for kind in kinds for case in cases_of(kind, bench.stock) if text in case.name), 999))
finally:
    bench.close()
    shutil.rmtree(str(folder))
