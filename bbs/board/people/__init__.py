"""People: invitations, friendships, statuses and blocks. This part knows no other.

(`bbs.board.friends` is a function for other packages, so this part is not called so.)
"""
