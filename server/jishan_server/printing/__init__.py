"""What goes on paper, as PDF: certificates, notices, posters, lists, passbooks, cards. A leaf: it knows nothing of the
scheme but what it is given, and takes the time as an argument, so that the same document is the same bytes.
"""
