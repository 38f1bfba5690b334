/* The calls of differ.c that change something. Included there, and nowhere else. */

static const int write_flags[] = {O_CREAT, O_CREAT | O_TRUNC, O_CREAT | O_EXCL, O_APPEND, O_TRUNC, 0,
                                  O_CREAT | O_APPEND,
                                  O_CREAT | O_NOFOLLOW, O_CREAT | O_DIRECTORY, O_NOFOLLOW,
                                  O_CREAT | O_TRUNC | O_EXCL};
static const mode_t new_modes[] = {0644, 0600, 0755, 0444, 0000, 0700, 01777, 0640};

static void put(int fd)
{
    char buf[40];
    const int n = snprintf(buf, sizeof buf, "written by %lu %.*s\n", call_number, (int)below(12), "............");
    say_rc(write(fd, buf, (size_t)n));
}

static void write_open(void)
{
    const unsigned form = below(4);
    const int flags = PICK(write_flags) | O_NONBLOCK | (one_in(9) ? O_RDONLY : one_in(2) ? O_WRONLY : O_RDWR);
    const mode_t mode = PICK(new_modes);
    struct where w = somewhere(form > 1);

    begin("open-w", &w);
    printf(" %x %o", flags, mode);
    if (allowed(&w, true)) {
        const int fd = open_form(form, &w, flags, mode);
        say_rc(fd < 0 ? -1 : 0);
        if (fd >= 0) {
            put(fd);
            keep(fd, &w, true);
        }
    }
    free(w.path);
}

static void write_creat(void)
{
    struct where w = somewhere(false);

    begin("creat", &w);
    if (allowed(&w, true) && !is_pipe(w.path)) {
        const int fd = creat(w.path, 0644);
        say_rc(fd < 0 ? -1 : 0);
        if (fd >= 0) {
            put(fd);
            close(fd);
        }
    }
    free(w.path);
}

static void write_tmpfile(void)
{
    struct where w = somewhere(true), to = somewhere(false);
    char link[40];

    begin("tmpfile", &w);
    putchar(' ');
    say_path(to.path);
    if (allowed(&w, false) && allowed(&to, true)) {
        const int fd = openat(w.dirfd, w.path, O_TMPFILE | O_RDWR, 0640);
        say_rc(fd < 0 ? -1 : 0);
        if (fd >= 0) {
            struct stat st;
            put(fd);
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            say_rc(linkat(AT_FDCWD, link, AT_FDCWD, to.path, AT_SYMLINK_FOLLOW));
            if (fstat(fd, &st) == 0)
                say_stat(&st);
            close(fd);
        }
    }
    free(w.path);
    free(to.path);
}

static void write_fopen(void)
{
    static const char *const modes[] = {"w", "a", "r+", "w+", "a+", "wx", "we"};
    const char *mode = PICK(modes);
    struct where w = somewhere(false);

    begin("fopen-w", &w);
    printf(" %s", mode);
    if (allowed(&w, true) && !is_pipe(w.path)) {
        FILE *f = fopen(w.path, mode);
        say_rc(f ? 0 : -1);
        if (f) {
            fprintf(f, "by stream %lu\n", call_number);
            say_rc(fclose(f));
        }
    }
    free(w.path);
}

static void write_remove(void)
{
    static const char *const forms[] = {"unlink", "unlinkat", "rmdir", "remove"};
    static const int all_flags[] = {0, AT_REMOVEDIR, 0x8000};
    const unsigned form = below(COUNT(forms));
    const int flags = PICK(all_flags);
    struct where w = somewhere(form == 1);

    begin(forms[form], &w);
    if (allowed(&w, true))
        say_rc(form == 0   ? unlink(w.path)
               : form == 1 ? unlinkat(w.dirfd, w.path, flags)
               : form == 2 ? rmdir(w.path)
                           : remove(w.path));
    free(w.path);
}

static void write_make(void)
{
    static const char *const forms[] = {"mkdir", "mkdirat", "mkfifo", "mknodat", "symlink", "symlinkat"};
    const unsigned form = below(COUNT(forms));
    struct where w = somewhere(form & 1);
    char *target = up_from("x", some_entry(0), false);

    begin(forms[form], &w);
    if (allowed(&w, true))
        switch (form) {
        case 0: say_rc(mkdir(w.path, 0755)); break;
        case 1: say_rc(mkdirat(w.dirfd, w.path, 0700)); break;
        case 2: say_rc(mkfifo(w.path, 0644)); break;
        case 3: say_rc(mknodat(w.dirfd, w.path, S_IFREG | 0644, 0)); break;
        case 4: say_rc(symlink(target, w.path)); break;
        default: say_rc(symlinkat(target, w.dirfd, w.path));
        }
    free(w.path);
    free(target);
}

static void write_rename(void)
{
    static const char *const forms[] = {"rename", "renameat", "renameat2", "link", "linkat"};
    static const unsigned rename_flags[] = {0, 1, 2, 64};
    static const int link_flags[] = {0, AT_SYMLINK_FOLLOW, 0x8000};
    const unsigned form = below(COUNT(forms)), rf = PICK(rename_flags);
    const int lf = PICK(link_flags);
    const bool at = form == 1 || form == 2 || form == 4;
    struct where from = somewhere(at), to = somewhere(at);

    begin(forms[form], &from);
    printf(" %s", to.form);
    say_path(to.path);
    if (allowed(&from, true) && allowed(&to, true)) {
        say_rc(form == 0   ? rename(from.path, to.path)
               : form == 1 ? renameat(from.dirfd, from.path, to.dirfd, to.path)
               : form == 2 ? renameat2(from.dirfd, from.path, to.dirfd, to.path, rf)
               : form == 3 ? link(from.path, to.path)
                           : linkat(from.dirfd, from.path, to.dirfd, to.path, lf));
        forget_moved();
    }
    free(from.path);
    free(to.path);
}

static void write_attributes(void)
{
    static const char *const forms[] = {"chmod", "fchmodat", "chown", "lchown", "utimensat", "utimes", "lutimes",
                                        "utime", "truncate"};
    const unsigned form = below(COUNT(forms));
    const mode_t mode = one_in(5) ? PICK(new_modes) : 0755;
    const long t = OLD + (long)call_number;
    const struct timespec ts[2] = {{t, 1}, {t, 2}};
    const struct timeval tv[2] = {{t, 1}, {t, 2}};
    const int flags = one_in(3) ? AT_SYMLINK_NOFOLLOW : one_in(9) ? 0x8000 : 0;
    const off_t length = (off_t)below(200);
    struct where w = somewhere(form == 1 || form == 4);

    begin(forms[form], &w);
    if (allowed(&w, true) && !(form == 8 && is_pipe(w.path)))
        switch (form) {
        case 0: say_rc(chmod(w.path, mode)); break;
        case 1: say_rc(fchmodat(w.dirfd, w.path, mode, flags)); break;
        case 2: say_rc(chown(w.path, geteuid(), getegid())); break;
        case 3: say_rc(lchown(w.path, geteuid(), getegid())); break;
        case 4: say_rc(utimensat(w.dirfd, w.path, ts, flags)); break;
        case 5: say_rc(utimes(w.path, tv)); break;
        case 6: say_rc(lutimes(w.path, tv)); break;
        case 7: say_rc(utime(w.path, &(struct utimbuf){t, t})); break;
        default: say_rc(truncate(w.path, length));
        }
    free(w.path);
}

/* Through a descriptor, whatever it is open for. */
static void write_fd(void)
{
    struct slot *s = some_slot(one_in(4));
    const unsigned form = below(6);
    const long t = OLD + (long)call_number;
    struct stat st;

    begin_slot(((const char *const[]){"fchmod", "fchown", "futimens", "write", "ftruncate", "futimes"})[form], s);
    /* A deliberate limit: what has no name any more is not changed through a descriptor in the mirror. */
    if (!s || (!s->writable && fstat(s->fd, &st) == 0 && st.st_nlink == 0))
        return;
    switch (form) {
    case 0: say_rc(fchmod(s->fd, s->dir ? 0755 : PICK(new_modes))); break;
    case 1: say_rc(fchown(s->fd, geteuid(), getegid())); break;
    case 2: say_rc(futimens(s->fd, (struct timespec[2]){{t, 1}, {t, 2}})); break;
    case 3: put(s->fd); break;
    case 4: say_rc(ftruncate(s->fd, below(100))); break;
    default: say_rc(futimes(s->fd, (struct timeval[2]){{t, 1}, {t, 2}}));
    }
}

/* The name is the C library's: it is given another at once. */
static void write_temporary(void)
{
    const bool directory = one_in(3);
    struct where w = somewhere(false);
    char *template = text("%s/%s/tmpXXXXXX", tree, some_entry('d'));

    begin(directory ? "mkdtemp" : "mkstemp", &w);
    putchar(' ');
    say_path(template);
    if (allowed(&w, true) && inside(AT_FDCWD, template, false)) {
        const int fd = directory ? (mkdtemp(template) ? open(template, O_RDONLY) : -1) : mkstemp(template);
        say_rc(fd < 0 ? -1 : 0);
        if (fd >= 0) {
            if (!directory)
                put(fd);
            close(fd);
            say_rc(rename(template, w.path));
            forget_moved();
            if (access(template, F_OK) == 0)
                say_rc(remove(template));
        }
    }
    free(w.path);
    free(template);
}

/* Removed, and made again as something new, or the same. */
static void write_again(void)
{
    struct where w = {AT_FDCWD, "", text("%s/%s", tree, some_entry(0))};

    begin("again", &w);
    if (allowed(&w, true)) {
        say_rc(remove(w.path));
        if (one_in(3)) {
            say_rc(mkdir(w.path, 0755));
        } else {
            const int fd = open(w.path, O_WRONLY | O_CREAT | O_NONBLOCK, 0644);
            say_rc(fd < 0 ? -1 : 0);
            if (fd >= 0) {
                put(fd);
                close(fd);
            }
        }
        struct stat st;
        say_rc(lstat(w.path, &st));
    }
    free(w.path);
}

static void (*const changing[])(void) = {
    write_open, write_open, write_creat, write_tmpfile, write_fopen, write_remove, write_make, write_make,
    write_rename,
    write_attributes, write_attributes, write_fd, write_temporary, write_again, write_again,
};
