"""Run work in a process of its own, to learn how much memory it takes at its peak."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def in_new_process(work, *arguments):
    """Return what `work` gives; both must be importable, and so lie in a module that is no test."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_bytes(work, *arguments):
    """Run something here and give the peak memory of this process, in bytes."""
    work(*arguments)
    return read_memory("VmHWM")


def peak_and_result(work, *arguments):
    """Run something here; give the peak memory of this process, in bytes, and what it gave."""
    result = work(*arguments)
    return read_memory("VmHWM"), result


def peak_above(work):
    """Run something here and give what it adds at its peak to the memory of this process, in bytes."""
    forget_peak()
    before = read_memory("VmRSS")
    work()
    return read_memory("VmHWM") - before


def read_memory(key):
    """Return a line of the process's status, in bytes: VmRSS = in use now, VmHWM = the peak."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def forget_peak():
    """Set the peak to what is in use now."""
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
