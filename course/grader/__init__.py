"""The grader: students' code runs in confined processes, and a judge that never imports it gives the points.

    grade.py (the command)     plans the work, and writes scores.csv; reads no submission itself
      server.py                has only imported PyTorch; forks a worker for each of --jobs
        worker                 takes one submission after another; ends whatever is left of each
          judge.py             lays out the submission, draws the inputs, holds the expected values, runs the tests
            caller             forked before the judge knows anything; forks a process for each call
              call             confines itself (confine.py), imports lib, runs one function of a test, writes numbers

Only bytes come back from a call (values.py), and only when all its processes are dead.
"""
