"""A deterministic simulator of Sadik clusters: one seed, one history, and every one is judged.

`draw_plan` makes a plan from a seed, `execute` carries it out, and the result tells which invariant
broke, if one did. `sadik_sim.study` measures clusters instead of judging them.
"""

from sadik_sim.plan import PROFILES, Options, Plan, draw_plan, plan_from_json, plan_to_json
from sadik_sim.run import RunResult, execute

__all__ = [
    "PROFILES",
    "Options",
    "Plan",
    "RunResult",
    "draw_plan",
    "execute",
    "plan_from_json",
    "plan_to_json",
]
