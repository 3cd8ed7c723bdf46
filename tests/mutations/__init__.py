"""Mutations: places of the code broken one at a time, each of which some test must notice."""
