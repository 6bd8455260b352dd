# reports/map.gp - points, one colour per spec: of a plane with equal axes, or against lines
# through the origin. Columns: x, y, low, high.
data = name . ".dat"
array form[5] = [7, 9, 5, 13, 11]
if (words(slopes) == 0) {
    set size ratio -1
}
rays = words(slopes) == 0 ? "" : "for [k = 1:words(slopes)] (word(slopes, k) + 0) * x " \
    . "with lines lc rgb '#999999' lw 1 dt 2 - (k == 1) notitle, "
do for [out in "svg png"] {
    eval out eq "svg" ? svg : png
    set output "../" . name . "." . out
    size = out eq "svg" ? 0.35 : 0.5
    eval "plot " . rays . "for [i = 1:series] data index i - 1 using 1:2 with points " \
        . "lc rgb palette[color[i]] pt form[dash[i]] ps size title columnheader(1)"
    unset output
}
