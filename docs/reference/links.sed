# Doxygen links a name in a comment only if a # precedes it. The headers are also read as they are, so this adds the # while Doxygen
# reads them. A name that does not exist then is an error.
# Not in an example.
/^ *(\*|\/\/\/)     /b
/^ *(\*|\/\*\*|\/\/\/) /{
    s/(^|[ (,])(x?shm_[a-z0-9_]*[a-z0-9])\.([a-z_]+)/\1#\2::\3/g
    s/(^|[ (,])(x?shm_[a-z0-9_]*[a-z0-9])/\1#\2/g
    s/(^|[ (,])(SHM_[A-Z_]*[A-Z]|XSHM_DRIVER_[A-Z0-9_]*[A-Z])/\1#\2/g
    # Names of files.
    s/#(xshm_(server|client|driver))::h/\1.h/g
    # Code.
    s/(= )#/\1/g
    # Beginnings of names.
    s/#([A-Za-z_]+_\.\.\.)/\1/g
}
