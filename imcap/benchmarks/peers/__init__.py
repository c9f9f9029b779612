"""What the benchmarks compare imcap with, and the processes in which both are measured."""
