"""What is checked and said before the first job, once all rules are known. No rules."""

from connectomake.lock import free_dead_lock, sign_in

if CALL.is_main:
    free_dead_lock(PREFLIGHT.state)
    sign_in(PREFLIGHT.state)
    with one_line():
        if not CALL.makes_environments:
            check_backends(STUDY)
        PREFLIGHT.check_start()
    if CALL.is_dry_run and not CALL.is_quiet:
        print(*GOALS.describe(), sep="\n", file=sys.stderr)  # stdout is the list of jobs


onstart:
    with one_line():
        PREFLIGHT.prepare()
