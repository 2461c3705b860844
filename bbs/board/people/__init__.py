"""People: invitations, friendships, statuses and blocks. It knows no other part of the board.

(`bbs.board.friends` is a function for other packages, so this part is not called so.)
"""
