"""Run programs that nobody has read: what a model wrote, or a test it wrote for itself.

`Sandbox` runs one command on a few files and returns what it printed and how it ended. Where the kernel offers
namespaces (Linux, as root or as a user who may make a user namespace) the program sees a file system of its own (the
system's programs read-only, an empty folder of bounded size to work in), no network, no process but its own, a user who
owns nothing, and no way to gain a privilege. Everywhere it has limits on time, memory, processes, output and files.

Not covered: faults of the kernel itself, and of the processor (timing and speculation). There is no filter of system
calls, and no bound on how much of the memory's bandwidth a program takes within its time. What the system's own folders
(/usr, /bin, /lib, the Python that runs this) hold can be read. Without namespaces (`Sandbox.kind` is "limits") a
program can read the files of the user who runs it, reach the network and signal that user's processes: such a machine
must be accepted by name, `weak=True`.
"""

from metier.core.sandbox.run import Limits, Outcome, Sandbox, kind_here

__all__ = ["Limits", "Outcome", "Sandbox", "kind_here"]
