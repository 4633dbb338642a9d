"""The release before this one, which runs beside today's while processes are replaced.

`commit` names it: whoever releases writes the commit of the release there.
"""
