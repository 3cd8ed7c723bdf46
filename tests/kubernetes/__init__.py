"""The chart and the image on a real cluster."""
