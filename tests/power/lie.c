/* The planted lie: content of files that is said to be on disk, and is not. It begins after a while, and leaves
   directories alone (fsync), so that nodes start and what they lose is what clients were told. */
#include <sys/syscall.h>
#include <unistd.h>

static int calls;

int fdatasync(int file) {
    return __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) < 30 ? (int)syscall(SYS_fdatasync, file) : 0;
}
