"""Processes for trainers that kill themselves."""

import multiprocessing

# Children of a fork server start at once, with the imports done, and share nothing with the tests.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["tests.support.doomed", "tests.support.mortal", "socratic_distill.training.trainer", "socratic_distill.testing"]
)
