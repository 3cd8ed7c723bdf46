"""The dashboards of the chart: written in Python, kept as Grafana's JSON.

`make dashboards` writes them again; a test says when it must be run.
"""
