"""A fleet of real agents that pull one image at the same moment.

    spec      how large, against which frontends, under which names
    image     the image that is pulled: random bytes, and their digests
    source    where it is fetched: a line that all nodes share, which counts
    tally     what calls ended with, and how long they took
    pull      what a node's containerd asks for, in its order
    node      one agent with its socket, and the containerd in front of it
    worker    a process with some of the nodes
    crew      all of these processes, and what they are told
    frontends what frontends say of themselves in /metrics, while nodes pull
    report    the tables
    run       all of it against frontends that run somewhere
    here      the same against three frontends on this machine

All but `here` is in the image that the chart's Job runs, and imports nothing of the tests.
"""
