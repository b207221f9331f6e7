"""Anti-entropy: owners compare hash trees in the background and exchange what differs."""

from sadik_vnode.anti_entropy.rounds import AntiEntropy

__all__ = ["AntiEntropy"]
