#!/usr/bin/env bash
# Give everybody what a step of the build left in the environment, and the group `users` the right to change it:
# share.sh PREFIX. No file gives the rights of its owner or group to who runs it.
# Only what needs it is touched: the layer would else hold a second copy of all that is below.
set -euo pipefail

find "$1" ! -type l \( \
    \( ! -group users -exec chgrp users {} + \) , \
    \( ! -perm -a=r,g=w -exec chmod a+rX,g+w {} + \) , \
    \( -type d ! -perm -g=s -exec chmod g+s {} + \) , \
    \( -type f -perm /6000 -exec chmod a-s {} + \) \)
