"""What makes the pairs of each degradation."""

from trainer.data.pair_cache import MakePairs
from trainer.recipes import Degradation


def pair_maker(degradation: Degradation) -> MakePairs:
    """What makes the pairs of a recipe's degradation."""
    if degradation in ("clean", "picture"):
        from trainer.data.stills import clean_pairs, picture_pairs

        return clean_pairs if degradation == "clean" else picture_pairs
    if degradation == "compressed":
        from trainer.data.codec import coded_pairs

        return coded_pairs
    from trainer.data.rgb_pairs import colour_pairs

    return colour_pairs
