"""System tests' harness: a QEMU machine, a shell in its dom0, and a runner that shares one boot among many tests."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "packaging"))
sys.path.insert(0, os.path.join(sys.path[0], "dom0"))
