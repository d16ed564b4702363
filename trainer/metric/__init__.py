"""Efficient-PBAN: a full-reference metric that learns from people and serves as a loss."""

from trainer.metric.loss import EfficientPBAN
from trainer.metric.pban_network import Behaviour, EfficientPban

__all__ = ["Behaviour", "EfficientPBAN", "EfficientPban"]
