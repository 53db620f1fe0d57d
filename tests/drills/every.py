"""All drills, in their order."""

from drills import batches, broker, databases, processes, push_services
from drills.drill import ALL

MODULES = (batches, broker, databases, processes, push_services)
DRILLS = sorted(ALL, key=lambda drill: (int(drill.number.rstrip("ab")), drill.number))
