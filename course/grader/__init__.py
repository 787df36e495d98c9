"""The grader: students' code runs in confined processes, and a judge that never imports it gives the points.

    the command (grade.py, pool.py)        plans the work and writes scores.csv; reads no submission itself
      the server (server.py)               has only imported PyTorch; forks the workers
        a worker                           takes one submission after another; ends whatever is left of each
          the judge (judge_process.py)     draws the inputs, holds the expected values, runs the tests
            the caller (caller.py)         was forked before the judge knew anything; forks a process for each call
              a call (call.py)             confines itself (confine.py), imports lib, runs one function of a test

Only bytes come back from a call (values.py), and only when all its processes are dead.
"""
