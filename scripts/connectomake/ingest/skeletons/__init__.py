"""Give volumes their skeletons: traced in labels block by block, or from files that are checked first."""

from connectomake.ingest.skeletons.frame import check_frame
from connectomake.ingest.skeletons.volume import skeletonize_labels, skeletons_of_volume

__all__ = ["check_frame", "skeletonize_labels", "skeletons_of_volume"]
