"""What can be known to go wrong with a profile, or on a Slurm cluster, is said before the first job. No rules."""

import atexit
import contextlib
import io

from connectomake.cluster import Cluster, check_answers, check_cluster, check_needs
from connectomake.cluster import check_profile, check_rule_names, check_shared
from connectomake.cluster.orphans import cancel_orphans


def read_command_line():
    """Read the command line as Snakemake did, which tells the Snakefile of the executor when it is too late.

    Gives the options, and the files of the profiles.
    """
    from snakemake.cli import parse_args

    with contextlib.redirect_stderr(io.StringIO()):  # it names the profile once more
        parser, options = parse_args(None)
    sources = (source.partition("|") for source in parser.get_source_to_settings_dict())
    return options, [Path(file) for kind, _, file in sources if kind == "config_file"]


def named(resource):
    """Give the names that profile and rules give as a resource, without those that are computed for each job."""
    found = (str(rule.resources[resource].raw or "") for rule in workflow.rules if resource in rule.resources)
    return list(dict.fromkeys(m[2] for m in (re.fullmatch(r"(['\"]?)([\w.,\- ]+)\1", text) for text in found) if m))


def check_start():
    """Check what does not need the jobs to be known. Gives the cluster; None where jobs run on this machine."""
    options, profiles = read_command_line()
    for profile in profiles:
        check_profile(profile)
    asked = workflow.resource_settings
    check_rule_names([*asked.overwrite_threads, *asked.overwrite_resources], [rule.name for rule in workflow.rules])
    if options.executor != "slurm":
        return None
    from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

    plugin = ExecutorPluginRegistry().get_plugin("slurm").get_settings(options)
    file = plugin.partition_config or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")
    cluster = check_cluster(
        Path(file) if file else None,
        named("slurm_partition"),
        named("slurm_account"),
        plugin.status_command,
        plugin.init_seconds_before_status_checks,
    )
    if cluster.real is not None:
        check_shared(Path(RESULTS))
    return cluster


def check_jobs():
    """Check that the cluster holds what the jobs ask that are to be run."""
    planned = workflow.dag.needrun_jobs(exclude_finished=False)  # a dry run has "finished" all
    jobs = [job for job in planned if workflow.dryrun or not job.is_local]
    if jobs and not workflow.dryrun:
        check_answers(CLUSTER)
    for job in sorted(jobs, key=lambda job: job.rule.name):
        check_needs(job.rule.name, dict(job.resources.items()), job.threads, CLUSTER)


def prepare_cluster():
    """Submit nothing where the cluster does not hold what some job asks, or jobs of a dead run do not end; in one line."""
    try:
        if CLUSTER is not None:
            check_jobs()
        cancel_orphans(STATE)
    except ConnectomakeError as error:
        sys.exit(str(error))


def warn_of_jobs():
    """Say in one line at the end of a dry run, which knows the jobs only then, what would refuse them."""
    try:
        if workflow.scheduler is not None:  # else the run ended before
            check_jobs()
    except ConnectomakeError as error:
        print(f"This would not run: {error}", file=sys.stderr)


CLUSTER = None
if workflow.is_main_process:
    try:
        CLUSTER = check_start()
    except ConnectomakeError as error:
        sys.exit(str(error))
    if CLUSTER is not None and workflow.output_settings.dryrun:
        atexit.register(warn_of_jobs)
