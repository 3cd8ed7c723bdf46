"""The rollout: it installs, upgrades and removes the agent on a host that systemd runs.

    layout      where things are on the host
    disk        atomic changes of the host's files
    journal     what was decided for this node: the one file from which all else follows
    ports       what the rollout needs of systemd, containerd and the agent
    systemd, runtime, agent    these three, for real
    generation  a program with its settings and its unit
    configured  containerd's files, made to agree with the journal
    carrying    content between containerd's own store and Holdfast
    verifying   whether containerd can use what it knows
    hooks       what the host does by itself when containerd starts
    turns       which nodes go first, and how many are changed at once
    cluster     the API server, by which they know
    rollout     install, upgrade, roll back
    removal     the way back

Design and reasons: docs/nodes.md.
"""
