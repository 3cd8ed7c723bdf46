"""Where a frontend's time goes under a load: flame graph, hottest lines, CPU of everybody."""
