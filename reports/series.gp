# reports/series.gp - one series over the commits of a branch: nights with their intervals, the level
# between change points, hollow points that are not judged. Blocks: 0 nights (x, value, low, high),
# 1 levels (x, value), then, as `hollow` and `changes` say, nights left out (x, value) and change
# points (x, lowest, highest value).
data = name . ".dat"
unset key
set xtics nomirror noenhanced
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    all = "data index 0 using 1:2:3:4 with yerrorbars lc rgb palette[1] lw 1 pt 7 ps 0.6, "
    if (hollow > 0) {
        all = all . "data index 2 using 1:2 with points lc rgb palette[1] pt 6 ps 0.6, "
    }
    if (changes > 0) {
        all = all . "data index 2 + (hollow > 0) using 1:2:(0):($3 - $2) with vectors nohead " . \
              "lc rgb '#999999' lw 1.5 dt 2, "
    }
    eval "plot " . all . "data index 1 using 1:2 with lines lc rgb palette[2] lw 2"
    unset output
}
