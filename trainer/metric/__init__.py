"""Efficient-PBAN: a full-reference metric that learns from people and serves as a loss."""

from trainer.metric.pban_network import Behaviour, EfficientPban

__all__ = ["Behaviour", "EfficientPban"]
