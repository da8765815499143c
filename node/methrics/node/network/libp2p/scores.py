"""Parameters and thresholds of the peer score (gossipsub 1.1, "Peer scoring").

By default, libp2p's thresholds are minus infinity, so that a peer score has no effect.
"""

from __future__ import annotations

from methrics._vendor.libp2p.pubsub.score import ScoreParams, TopicScoreParams

MESH_LEAST = 0.0
"""A peer with a lower score is removed from the mesh."""

IGNORED_BELOW = -100.0
"""Messages of a peer with a lower score are dropped unread."""


def score_params() -> ScoreParams:
    """Return the parameters of the peer score.

    Ten rejected messages within half a minute outweigh the largest credit for accepted ones. After
    15 rejected messages, messages of the peer are dropped unread for about a minute. The largest
    credit is small, so that a peer with a long good record cannot send many bad messages. Counters
    decay once per heartbeat.
    """
    return ScoreParams(
        p2_first_message_deliveries=TopicScoreParams(weight=0.5, cap=40.0, decay=0.95),
        p4_invalid_messages=TopicScoreParams(weight=10.0, cap=60.0, decay=0.98),
        p5_behavior_penalty_weight=10.0,
        p5_behavior_penalty_decay=0.98,
        p5_behavior_penalty_threshold=0.0,
        publish_threshold=-50.0,
        gossip_threshold=-20.0,
        graylist_threshold=IGNORED_BELOW,
        accept_px_threshold=float("inf"),
    )
