/* Calls after which the process sees other files, or may see fewer. Rules: shim.h.
 *
 * From then on it is not served: the kernel is asked. What it has open stays what it is. A vfork child that calls these
 * does it for its parent as well, which is then slower, and as right as before. */
#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/mount.h>

#include "libdlcache/sys.h"
#include "shim.h"

static int left(int rc)
{
    if (rc == 0 && shim.serving)
        __atomic_store_n(&shim.left, true, __ATOMIC_RELAXED);
    return rc;
}

/* Another user, or another group, may be refused what the index says. Setting what is set already changes nothing. */
static int changed_ids(int rc)
{
    if (shim.serving && (sys_geteuid() != shim.euid || (unsigned)sys_call(__NR_getegid, 0, 0, 0, 0) != shim.egid))
        left(0);
    return rc;
}

int setuid(uid_t uid)
{
    return changed_ids(REAL(setuid)(uid));
}

int setgid(gid_t gid)
{
    return changed_ids(REAL(setgid)(gid));
}

int seteuid(uid_t uid)
{
    return changed_ids(REAL(seteuid)(uid));
}

int setegid(gid_t gid)
{
    return changed_ids(REAL(setegid)(gid));
}

int setreuid(uid_t real, uid_t effective)
{
    return changed_ids(REAL(setreuid)(real, effective));
}

int setregid(gid_t real, gid_t effective)
{
    return changed_ids(REAL(setregid)(real, effective));
}

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
    return changed_ids(REAL(setresuid)(real, effective, saved));
}

int setresgid(gid_t real, gid_t effective, gid_t saved)
{
    return changed_ids(REAL(setresgid)(real, effective, saved));
}

int setfsuid(uid_t uid)
{
    const int before = REAL(setfsuid)(uid);
    if ((uid_t)before != uid)
        left(0);
    return before;
}

int setfsgid(gid_t gid)
{
    const int before = REAL(setfsgid)(gid);
    if ((gid_t)before != gid)
        left(0);
    return before;
}

int setgroups(size_t count, const gid_t *groups)
{
    return left(REAL(setgroups)(count, groups));
}

int initgroups(const char *user, gid_t group)
{
    return left(REAL(initgroups)(user, group));
}

int chroot(const char *path)
{
    struct statx root;
    const bool first = shim.recording && !shim.chrooted && sys_statx(AT_FDCWD, "/", 0, STATX_INO, &root) == 0;
    const int rc = left(REAL(chroot)(shim_original(path)));

    if (rc == 0 && first) {
        shim.root_dev = dlc_device(root.stx_dev_major, root.stx_dev_minor);
        shim.root_ino = root.stx_ino;
        __atomic_store_n(&shim.chrooted, true, __ATOMIC_RELEASE);
    }
    return rc;
}

int unshare(int flags)
{
    const int rc = REAL(unshare)(flags);
    return flags & (CLONE_NEWNS | CLONE_NEWUSER) ? left(rc) : rc;
}

int setns(int fd, int type)
{
    return left(REAL(setns)(fd, type));
}

int mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
    return left(REAL(mount)(source, target, type, flags, data));
}

int umount(const char *target)
{
    return left(REAL(umount)(target));
}

int umount2(const char *target, int flags)
{
    return left(REAL(umount2)(target, flags));
}
