"""Networks as plain classes; a recipe says which `Lite` it trains, a stage (trainer.stages) which network of luma and chroma."""

from trainer.nets.lite import Lite
from trainer.nets.quantised_lite import QuantisedLite
from trainer.recipes import Recipe


def build_network(recipe: Recipe) -> Lite:
    """An untrained network as the recipe wants it."""
    if recipe.quantised:
        return QuantisedLite(recipe.scale, recipe.channels, recipe.layers, recipe.tail)
    return Lite(recipe.scale, recipe.channels, recipe.layers, recipe.planes, recipe.tail)


__all__ = ["Lite", "QuantisedLite", "build_network"]
