"""The whole stack on one machine: an embedded Redis server and the processes around it."""
