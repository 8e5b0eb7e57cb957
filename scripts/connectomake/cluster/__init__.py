"""Say in one line what would go wrong on a Slurm cluster, before the first job goes to it.

Nothing here needs Slurm: what its commands do not tell, because they are missing or silent, is not checked.
"""

from connectomake.cluster.checks import Cluster, check_answers, check_cluster, check_needs
from connectomake.cluster.folders import check_shared
from connectomake.cluster.profile import check_profile, check_rule_names

__all__ = [
    "Cluster",
    "check_answers",
    "check_cluster",
    "check_needs",
    "check_profile",
    "check_rule_names",
    "check_shared",
]
