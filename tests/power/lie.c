/* The planted lie: a file that says it is on disk, and is not. Proves that tests/power would see it. */
int fsync(int file) { (void)file; return 0; }
int fdatasync(int file) { (void)file; return 0; }
