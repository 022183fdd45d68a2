"""The transfer bundle: a proven piece of one or more logs, carried across an air gap.

The format is specified in README.md beside this file. This package imports
nothing of the appliance; signing and opening of notes are callables it is given.
"""
