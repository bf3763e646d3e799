"""Fuzzing of this repository's tools: runs on randomly damaged inputs are compared with an independent reader.

``json_damage``, ``text_damage`` and ``file_damage`` damage files; ``reading`` reads the rest in plain Python;
``targets`` describe one tool each (its intact input, what is damaged, the expected result); ``running`` runs a tool in
a fork or by its command line; ``verdict`` classifies the outcome; ``session`` runs the cases.
"""
