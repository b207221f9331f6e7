"""Simulated clusters of register machines: one value a register, under every fault."""

from sadik_sim.registers.bugs import REGISTER_BUGS
from sadik_sim.registers.run import RegisterResult, execute_registers

__all__ = ["REGISTER_BUGS", "RegisterResult", "execute_registers"]
