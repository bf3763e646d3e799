"""Tools of this repository on randomly damaged inputs: what each says of them beside an independent reading.

``json_damage``, ``text_damage`` and ``file_damage`` do the damage, ``reading`` reads what is left in plain Python,
``targets`` have one tool each (a sound input, what of it is damaged, what must come out), ``running`` runs a tool
forked or by its command line, ``verdict`` sorts what happened, ``session`` goes through the cases.
"""
