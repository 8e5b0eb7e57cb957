"""Give volumes their skeletons: traced in labels block by block, or from files that are checked first."""

from connectomake.measure.skeletonize.frame import check_frame
from connectomake.measure.skeletonize.volume import skeletonize_labels, skeletons_of_volume

__all__ = ["check_frame", "skeletonize_labels", "skeletons_of_volume"]
