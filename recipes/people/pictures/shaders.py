"""GLSL: people and things with folds, light and shadows; the ground; the background; the mean of a pixel.

Drawn are two pictures: linear RGB with cover, and z depth (0: nothing), number of the actor, shadow on the
ground. Skinning is done before, on the CPU.
"""

SHADOW_VERTEX = """#version 330
in vec3 p; uniform mat4 light;
void main() { gl_Position = light*vec4(p, 1); }"""
SHADOW_FRAGMENT = "#version 330\nvoid main() {}"

VERTEX = """#version 330
in vec3 p; in vec3 n; in vec2 t; in float layer;
uniform mat4 view, proj, light; out vec3 N, V, S; out vec2 T; flat out int L;
void main() {
    vec4 v = view*vec4(p, 1); V = v.xyz; N = n; T = t; L = int(layer); gl_Position = proj*v;
    S = (light*vec4(p + .012*normalize(n), 1)).xyz*.5 + .5;
}"""

_LIT = """
uniform sampler2DShadow depthmap; uniform float blur;
float lit(vec3 s) {  // share of the sun that comes through
    float r = 0.;
    for (int k = 0; k < 4; k++)
        r += texture(depthmap, vec3(s.xy + (vec2(k & 1, k >> 1) - .5)*blur, s.z - .004));
    return r/4.;
}"""

FRAGMENT = (
    "#version 330"
    + _LIT
    + """
uniform sampler2DArray tex; uniform vec4 tint[16]; uniform float relief[16];
uniform vec3 sun, suncol, sh[9]; uniform mat3 toworld; uniform float id;
in vec3 N, V, S; in vec2 T; flat in int L;
layout(location=0) out vec4 rgba; layout(location=1) out vec3 truth;
vec3 ambient(vec3 n) {
    return max(.2*sh[0], sh[0] + sh[1]*n.y + sh[2]*n.z + sh[3]*n.x + sh[4]*n.x*n.y + sh[5]*n.y*n.z
        + sh[6]*(3.*n.z*n.z - 1.) + sh[7]*n.x*n.z + sh[8]*(n.x*n.x - n.y*n.y));
}
void main() {
    vec4 c = texture(tex, vec3(T, L));
    if (relief[L] == 0. && c.a < .45) discard;
    vec3 n = normalize(N), P = toworld*V, w = normalize(-P);
    if (dot(n, w) < 0.) n = -n;
    if (relief[L] > 0.) {  // folds: alpha is their height
        vec3 px = dFdx(P), py = dFdy(P), r1 = cross(py, n), r2 = cross(n, px);
        float det = dot(px, r1);
        n = normalize(abs(det)*n - sign(det)*relief[L]*(dFdx(c.a)*r1 + dFdy(c.a)*r2));
    }
    vec3 a = pow(c.rgb, vec3(2.2))*tint[L].rgb, h = normalize(sun + w);
    float d = max(dot(n, sun), 0.), l = d > 0. ? lit(S) : 0., g = tint[L].a;
    vec3 col = a*(ambient(n) + suncol*d*l) + suncol*l*d*g*.25*pow(max(dot(n, h), 0.), 24.)
        + g*.06*pow(1. - max(dot(n, w), 0.), 4.)*ambient(reflect(-w, n));
    rgba = vec4(max(col, 0.), 1); truth = vec3(-V.z, id, 0);
}"""
)

GROUND_VERTEX = """#version 330
uniform mat4 view, proj, light; in vec2 q; out vec3 S; out vec2 Q;
void main() {
    vec4 P = vec4(5.*q.x, 0, 5.*q.y, 1); gl_Position = proj*view*P; S = (light*P).xyz*.5 + .5; Q = P.xz;
}"""
GROUND_FRAGMENT = (
    "#version 330"
    + _LIT
    + """
uniform vec4 blob[4]; uniform vec2 strength; in vec3 S; in vec2 Q;
layout(location=0) out vec4 rgba; layout(location=1) out vec3 truth;
void main() {
    float s = 0.;
    if (strength.x > .02 && all(lessThan(abs(S.xy - .5), vec2(.5)))) s = strength.x*(1. - lit(S));
    for (int k = 0; k < 4; k++) {
        vec2 d = Q - blob[k].xy;
        s = max(s, strength.y*blob[k].w*exp(-dot(d, d)/(blob[k].z*blob[k].z)));
    }
    rgba = vec4(0); truth = vec3(0, 0, s);
}"""
)

SCREEN_VERTEX = "#version 330\nin vec2 q; void main() { gl_Position = vec4(q, 0, 1); }"

SHRINK_FRAGMENT = """#version 330
// Colour times cover, cover; inverse depth times cover, cover by actor 0, shadow on the ground.
uniform sampler2D colour, depth; uniform int times;
layout(location=0) out vec4 rgba; layout(location=1) out vec4 truth;
void main() {
    rgba = truth = vec4(0); ivec2 at = ivec2(gl_FragCoord.xy)*times;
    for (int i = 0; i < times; i++) for (int j = 0; j < times; j++) {
        vec3 d = texelFetch(depth, at + ivec2(i, j), 0).xyz;
        rgba += texelFetch(colour, at + ivec2(i, j), 0);
        truth += vec4(d.x > 0. ? 1./max(d.x, .1) : 0., d.x > 0. && d.y == 0. ? 1. : 0., d.z, 0);
    }
    rgba /= float(times*times); truth /= float(times*times);
}"""

BACKGROUND_FRAGMENT = """#version 330
// Linear rgb and z depth of the ground and a wall, seen through a camera.
uniform vec3 eye, centre, light[3]; uniform mat3 axes, turn; uniform vec2 span; uniform int room;
uniform float focal, size, wall, knee, grounded, amplitude[6], phase[6];
uniform sampler2D panorama, floor_, side; layout(location=0) out vec4 rgba;
const float PI = 3.14159265;
void main() {
    vec2 u = (2.*gl_FragCoord.xy/size - 1.)/focal; vec3 d = u.x*axes[0] + u.y*axes[1] - axes[2], c;
    float ground = d.y < -1e-4 ? -eye.y/d.y : 1e30, w;
    mat3 back = transpose(turn); vec3 f = back*d, e = back*eye;  // in the panorama's axes
    if (room == 1) {
        vec2 t = (wall*sign(f.xz) - e.xz)/mix(vec2(1e-6), f.xz, step(1e-6, abs(f.xz))); w = min(t.x, t.y);
    } else {
        float a = dot(f.xz, f.xz) + 1e-9, b = dot(f.xz, e.xz);
        w = (sqrt(max(b*b - a*(dot(e.xz, e.xz) - wall*wall), 0.)) - b)/a;
    }
    float z = min(min(ground, w), 300.); vec3 hit = eye + z*d;
    if (room == 1) {
        vec3 h = back*hit; vec2 level = log2(z*2./(focal*size)*256./span + 1e-9);
        if (ground < w) c = textureLod(floor_, h.xz/span.x, level.x).rgb*light[0];
        else if (abs(h.x) > abs(h.z)) c = textureLod(side, vec2(h.z, h.y)/span.y, level.y).rgb*light[1];
        else c = textureLod(side, vec2(h.x, h.y)/span.y, level.y).rgb*light[2];
    } else {
        vec3 r = back*normalize(grounded > .5 ? hit - centre : d);
        vec2 at = vec2(atan(r.x, -r.z)/(2.*PI), acos(clamp(r.y, -1., 1.))/PI);
        vec3 y = pow(min(textureLod(panorama, at, 0.).rgb, .998), vec3(2.2)); c = knee*y/(1. - y);
    }
    float angle = atan(hit.x, hit.z), s = 0.;
    for (int k = 0; k < 6; k++) s += amplitude[k]*sin(float(k + 1)*angle + phase[k]);
    rgba = vec4(c, clamp(min(ground, w*clamp(exp(s), .6, 2.)), .3, 300.));
}"""
